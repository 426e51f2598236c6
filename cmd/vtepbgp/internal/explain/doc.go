// Package explain puts into words why a MAC or IP address is where it is, or why it is
// not: a chain of steps from the port that saw it, over the routes that name it, to
// the kernel's rows and the way through the underlay, and a verdict with what to do.
//
// It is pure: [Chain] turns [Facts] into an [api.Explanation]. The facts are the
// core's ([evpn.Explanation]), the kernel's and the speaker's; gathering them is the
// daemon's task, printing them the command's.
package explain
