"""The apps: two samples, `blog` and `shop`, and the product, `integrity`."""
