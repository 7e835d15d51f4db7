"""A user's program as text: what stands where in it, and how it is said otherwise. Nothing here runs it."""
