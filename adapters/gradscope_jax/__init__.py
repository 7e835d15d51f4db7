"""gradscope for JAX: check of unchanged scripts, and observe(), watch() and read() for jitted steps of one's own."""
