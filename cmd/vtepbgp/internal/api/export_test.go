package api

// Explain is the client's translation of a dial error.
func Explain(socket string, err error) error { return NewClient(socket).explain(err) }
