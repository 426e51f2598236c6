// Package speakertest is a scripted BGP peer for tests: it dials or accepts, says what the
// test tells it to, octet by octet if need be, and collects what it hears.
package speakertest
