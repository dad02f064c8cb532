"""Tools as the model gets them: schemas, and whether they can honestly be strict."""
