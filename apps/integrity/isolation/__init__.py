"""What other code may do here: its errors end one piece of work, its text is made printable."""
