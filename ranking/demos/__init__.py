"""Demos: the whole way on a made world, from its files to the page, one module a world."""
