"""What the product costs and what it gains, beside other ways and the physical limit."""
