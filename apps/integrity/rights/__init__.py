"""What each database role needs, table by table: pieces that `grants` puts together."""
