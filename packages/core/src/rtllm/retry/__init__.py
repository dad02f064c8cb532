"""What a failure means: fault classification, and the policy that follows from it."""
