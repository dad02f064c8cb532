"""What the model must see, and what of it the service knows already."""
