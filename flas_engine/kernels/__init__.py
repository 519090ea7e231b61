"""Matrix products with frozen weights, laid out once for the machine's own kernels; `layout` chooses among them."""
