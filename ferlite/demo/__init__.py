"""What `ferlite demo` looks at: two public-domain portraits (README.md), a clip drawn of them."""
