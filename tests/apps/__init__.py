"""Third-party apps beside ours: the same deletes on one database and on two leave the same rows."""
