"""Files below posts: an app of the demo, so that the sample project's models stay as they are."""
