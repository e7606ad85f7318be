"""The operator's commands: they work on the database of a service, whether it runs or not."""
