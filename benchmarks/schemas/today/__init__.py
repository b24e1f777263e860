"""A common approach without the product: a task per user, on separate queues."""
