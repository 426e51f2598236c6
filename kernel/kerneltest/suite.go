package kerneltest

import "testing"

// Run is the contract between package kernel and a kernel. Each part gets a fresh
// World.
func Run(t *testing.T, f Factory) {
	parts := []struct {
		name string
		run  func(*testing.T, Factory)
	}{
		{"create devices", createDevices},
		{"adopt devices", adoptDevices},
		{"devices that cannot work", impossibleDevices},
		{"remove VNI", removeVNI},
		{"device deleted", deviceDeleted},
		{"VTEP address comes and goes", addressComesAndGoes},
		{"bridge interface", bridgeInterface},
		{"suppression", suppression},
		{"what the bridge swallows", swallowed},
		{"rows", rows},
		{"rows over IPv6", rowsIPv6},
		{"MAC moves between VTEPs", moveRemote},
		{"sticky comes and goes", toggleSticky},
		{"local MACs", localMACs},
		{"local IPs", localIPs},
		{"local IPs from ARP", heardARP},
		{"local IPs from ND", heardND},
		{"local IPs from DHCP", heardDHCP},
		{"local IP yields to a remote one", heardYields},
		{"forged bindings", forgedBindings},
		{"silent host", silentHost},
		{"port changes its bridge", portChangesBridge},
		{"port leaves", portLeaves},
		{"local takes over remote", localOverRemote},
		{"remote takes over local", remoteOverLocal},
		{"foreign changes are repaired", foreignRepaired},
		{"foreign rows stay", foreignStay},
		{"adoption", adoption},
		{"flush", flush},
		{"lost events", lostEvents},
		{"ways by route", waysByRoute},
		{"ways by link", waysByLink},
		{"ways over IPv6", waysOverIPv6},
		{"sizes of ways", waySizes},
		{"lost route events", lostRouteEvents},
		{"group", groupRow},
		{"group over IPv6", groupIPv6},
		{"group of a device", groupOfDevice},
		{"interface of a group comes and goes", groupInterface},
		{"from a list to a group and back", listToGroup},
		{"own addresses", ownAddresses},
		{"own addresses after a restart", ownAddressesAgain},
		{"own addresses beside an operator's", ownAddressesBeside},
		{"problems of a group", groupProblems},
		{"events of source checks", sourceCheckEvents},
		{"segments", segments},
		{"alive", alive},
		{"alive over IPv6", aliveIPv6},
		{"many alive", manyAlive},
		{"many rows", manyRows},
		{"walk", walk},
		{"drift: rows", driftRows},
		{"drift: links", driftLinks},
		{"drift: links of an operator", driftOfOperator},
		{"drift: groups and addresses", driftAddresses},
		{"drift: rows found at start", driftUnconfirmed},
		{"drift: a row that the kernel refuses", driftRefused},
		{"drift: none while things change", driftChurn},
		{"inspect", inspect},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) { p.run(t, f) })
	}
}
