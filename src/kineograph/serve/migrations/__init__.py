"""The schema's history, append-only: a version that was released is never edited."""
