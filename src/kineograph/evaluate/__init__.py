"""Evaluation: judges that read facts back from pixels, prompts to judge by, and the report."""
