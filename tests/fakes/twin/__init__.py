"""A model whose network doubles numbers; its "authors' code" is one module, which tests write into a folder."""
