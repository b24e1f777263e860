"""What people do today: tasks on queues of their own, which the project's workers may take."""
