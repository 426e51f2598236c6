// Package kerneltest holds an in-memory kernel for tests, and the contract that it
// and the real kernel both keep.
//
// [Fake] behaves like Linux as far as package kernel relies on it: it refuses what
// Linux refuses, tells of every change, learns, ages, forgets rows with their port,
// and prints like bridge(8). Beyond Linux it can be told to fail an op, lose events
// or close a subscription.
//
//	func TestContract(t *testing.T) {
//		kerneltest.Run(t, kerneltest.NewFakeWorld)
//	}
//
// [Run] is the contract suite. On the real kernel ([NewRealWorld]) it needs root
// and skips without, unless VTEPBGP_LAB_REQUIRED=1 asks it to fail.
package kerneltest
