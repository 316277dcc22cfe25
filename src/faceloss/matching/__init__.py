"""Every pair, exactly, at a fraction of the products' price."""
