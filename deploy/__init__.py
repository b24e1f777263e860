"""Files to deploy the sample project: roles, Redis users, alerts, and a script for .env."""
