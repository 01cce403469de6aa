"""Where jobs live: the Store protocol, and the stores behind it."""
