package speaker_test

import (
	"os"
	"testing"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

var eor = wire.EndOfRIB()

// requireLab skips a test that the machine cannot run, and fails it where the machine must be able to.
func requireLab(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("VTEPBGP_LAB_REQUIRED") == "1" {
		t.Fatalf("%s, and VTEPBGP_LAB_REQUIRED is set", why)
	}
	t.Skip(why)
}

// hasEvent looks for an event that can be compared: any but RoutesReceived.
func hasEvent(events []evpn.Event, want evpn.Event) bool {
	for _, ev := range events {
		if _, routes := ev.(evpn.RoutesReceived); !routes && ev == want {
			return true
		}
	}
	return false
}

// lastIs wants an event as the last of those so far; there may be none yet.
func lastIs(want evpn.Event) func([]evpn.Event) bool {
	return func(events []evpn.Event) bool { return len(events) > 0 && events[len(events)-1] == want }
}
