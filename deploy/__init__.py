"""Files for running the sample project: roles, users, alerts, and the script that makes .env."""
