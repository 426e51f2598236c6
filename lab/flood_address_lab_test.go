//go:build lab

package lab_test

import "fmt"

func (st *floodStage) pick(four, six string) string {
	if st.family == 6 {
		return six
	}
	return four
}

func (st *floodStage) group() string { return st.pick(floodGroup4, floodGroup6) }

// service is the n-th service address.
func (st *floodStage) service(n int) string {
	return fmt.Sprintf(st.pick("10.9.0.%d", "fd00:9::%d"), n)
}

// addr is the VTEP address of a player.
func (st *floodStage) addr(name string) string {
	n := st.number(name)
	if a := st.players[n-1].address; a != "" {
		return a
	}
	if s := st.players[n-1].segment; s > 0 {
		return fmt.Sprintf(st.pick("10.0.%d.%d", "fd00:0:%d::%d"), s, n)
	}
	return fmt.Sprintf(st.pick("10.1.%d.1", "fd00:1:%d::1"), n)
}

// entrance is the address by which a player's service addresses are reached.
func (st *floodStage) entrance(name string) string {
	if n := st.number(name); st.players[n-1].uplink {
		return fmt.Sprintf(st.pick("10.2.%d.1", "fd00:2:%d::1"), n)
	}
	return st.addr(name)
}

func (st *floodStage) uplinkGateway(n int) string {
	return fmt.Sprintf(st.pick("10.2.%d.254", "fd00:2:%d::fe"), n)
}

func (st *floodStage) segmentGateway(s int) string {
	return fmt.Sprintf(st.pick("10.0.%d.254", "fd00:0:%d::fe"), s)
}

func (st *floodStage) linkGateway(n int) string {
	return fmt.Sprintf(st.pick("10.1.%d.254", "fd00:1:%d::fe"), n)
}

// everything is the whole underlay. FRR resolves no next hop by a default route.
func (st *floodStage) everything() string { return st.pick("10.0.0.0/8", "fd00::/16") }

func (st *floodStage) mask() string { return st.pick("/24", "/64 nodad") }

const reflectorNumber = 250

func (st *floodStage) reflector() string {
	return fmt.Sprintf(st.pick("10.1.%d.1", "fd00:1:%d::1"), reflectorNumber)
}
