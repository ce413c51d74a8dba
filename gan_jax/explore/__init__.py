"""A page on which to explore a trained generator: what it shows, its nets for a browser, and the file that it is."""
