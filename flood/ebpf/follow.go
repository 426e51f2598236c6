package ebpf

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

const (
	// settle is how long route and link changes are waited for to come together.
	settle = 50 * time.Millisecond
	// probe is how often neighbours that do not answer are asked for.
	probe = 5 * time.Second
)

// follower keeps the picture of ways true.
type follower struct {
	nl          *netlink.Handle
	inNamespace func(func() error) error
	own         string // groups without another interface are out of this one
	log         *logrus.Entry
	changed     chan struct{} // ways may be others now
	comeback    flood.Comeback

	mu      sync.Mutex
	picture *picture
	hops    map[hop]bool // in use
}

func newFollower(nl *netlink.Handle, inNamespace func(func() error) error, own string, log *logrus.Entry) *follower {
	return &follower{nl: nl, inNamespace: inNamespace, own: own, log: log, changed: make(chan struct{}, 1), picture: newPicture(), hops: map[hop]bool{}}
}

func (f *follower) way(to destination) way {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.picture.way(to)
}

// want sets whose ways are followed, and looks the new ones up.
func (f *follower) want(all map[destination]bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for a := range f.picture.routes {
		if !all[a] {
			delete(f.picture.routes, a)
		}
	}
	fresh := false
	for a := range all {
		if _, known := f.picture.routes[a]; !known {
			f.picture.routes[a] = f.lookup(a)
			fresh = true
		}
	}
	if !fresh {
		f.hops = f.picture.hops()
		return nil
	}
	if err := f.readDevices(); err != nil {
		return err
	}
	f.hops = f.picture.hops()
	for h := range f.hops {
		if _, known := f.picture.neighbors[h]; !known {
			// Also when following has not begun.
			return f.readNeighbors()
		}
	}
	return nil
}

// lookup asks the kernel for the route to a destination. One without a route has no device.
func (f *follower) lookup(at destination) route {
	to := at.address
	if to.IsMulticast() {
		link, err := f.nl.LinkByName(cmp.Or(at.out, f.own))
		if err != nil {
			return route{}
		}
		return route{hop: hop{link.Attrs().Index, to}}
	}
	found, err := f.nl.RouteGet(to.AsSlice())
	if err != nil || len(found) == 0 {
		return route{}
	}
	r := found[0]
	gateway := to
	if a, ok := netip.AddrFromSlice(r.Gw); ok {
		gateway = a.Unmap()
	} else if via, ok := r.Via.(*netlink.Via); ok {
		if a, ok := netip.AddrFromSlice(via.Addr); ok {
			gateway = a.Unmap()
		}
	}
	return route{hop: hop{r.LinkIndex, gateway}, mtu: r.MTU}
}

func (f *follower) readDevices() error {
	links, err := f.nl.LinkList()
	if err != nil {
		return fmt.Errorf("read devices: %w", err)
	}
	clear(f.picture.devices)
	for _, l := range links {
		f.note(l)
	}
	return nil
}

func (f *follower) note(l netlink.Link) {
	a := l.Attrs()
	d := device{
		mtu: a.MTU, ethernet: a.EncapType == "ether" && len(a.HardwareAddr) == 6, noARP: a.RawFlags&unix.IFF_NOARP != 0, up: a.Flags&net.FlagUp != 0,
	}
	copy(d.mac[:], a.HardwareAddr)
	f.picture.devices[a.Index] = d
}

func (f *follower) readNeighbors() error {
	all, err := f.nl.NeighList(0, 0)
	if err != nil {
		return fmt.Errorf("read neighbors: %w", err)
	}
	clear(f.picture.neighbors)
	for i := range all {
		f.hear(&all[i], false)
	}
	for h := range f.hops {
		if f.picture.neighbors[h].needs() {
			f.use(h)
		}
	}
	return nil
}

// hear notes a neighbour, and says whether one in use is another now.
func (f *follower) hear(n *netlink.Neigh, gone bool) bool {
	ip, ok := netip.AddrFromSlice(n.IP)
	if !ok || n.Family != unix.AF_INET && n.Family != unix.AF_INET6 {
		return false
	}
	h := hop{n.LinkIndex, ip.Unmap()}
	before := f.picture.neighbors[h]
	if gone {
		delete(f.picture.neighbors, h)
	} else {
		now := neighbor{state: n.State}
		copy(now.mac[:], n.HardwareAddr)
		f.picture.neighbors[h] = now
	}
	if !f.hops[h] {
		return false
	}
	now := f.picture.neighbors[h]
	if now.needs() && now.state&unix.NUD_FAILED == 0 {
		f.use(h) // one that does not answer is asked for from time to time
	}
	return now.mac != before.mac || now.usable() != before.usable()
}

// use tells the kernel that a neighbour is in use: it looks for it, or confirms it.
func (f *follower) use(h hop) {
	family := unix.AF_INET
	if h.address.Is6() {
		family = unix.AF_INET6
	}
	err := f.nl.NeighSet(&netlink.Neigh{LinkIndex: h.device, Family: family, IP: h.address.AsSlice(), Flags: unix.NTF_USE})
	if err != nil {
		f.log.WithError(err).WithFields(logrus.Fields{"neighbor": h.address, "device": h.device}).Debug("cannot ask for a neighbor")
	}
}

// updates are the kernel's messages; their channels close when it could not tell all.
type updates struct {
	links     chan netlink.LinkUpdate
	routes    chan netlink.RouteUpdate
	neighbors chan netlink.NeighUpdate
	done      chan struct{}
}

func (f *follower) subscribe() (*updates, error) {
	u := &updates{
		links: make(chan netlink.LinkUpdate, 64), routes: make(chan netlink.RouteUpdate, 64),
		neighbors: make(chan netlink.NeighUpdate, 64), done: make(chan struct{}),
	}
	ignore := func(error) {} // the channel closes, and we read all anew
	const buffer = 1 << 20
	err := f.inNamespace(func() error {
		return errors.Join(
			netlink.LinkSubscribeWithOptions(u.links, u.done, netlink.LinkSubscribeOptions{ErrorCallback: ignore, ReceiveBufferSize: buffer, ReceiveBufferForceSize: true}),
			netlink.RouteSubscribeWithOptions(u.routes, u.done, netlink.RouteSubscribeOptions{ErrorCallback: ignore, ReceiveBufferSize: buffer, ReceiveBufferForceSize: true}),
			netlink.NeighSubscribeWithOptions(u.neighbors, u.done, netlink.NeighSubscribeOptions{ErrorCallback: ignore, ReceiveBufferSize: buffer, ReceiveBufferForceSize: true}),
		)
	})
	if err != nil {
		close(u.done)
		return nil, fmt.Errorf("follow routes and neighbors: %w", err)
	}
	return u, nil
}

// run follows until stop closes.
func (f *follower) run(stop <-chan struct{}) {
	for {
		u, err := f.subscribe()
		if err == nil {
			err = f.readAll()
			if err == nil {
				err = f.listen(u, stop)
			}
			u.end()
		}
		if err == nil {
			return
		}
		f.log.WithError(err).Warn("reading routes and neighbors anew")
		select {
		case <-stop:
			return
		case <-time.After(time.Second):
		}
	}
}

// end closes the subscriptions, and reads what they still say so that nobody waits.
func (u *updates) end() {
	close(u.done)
	go func() {
		for range u.links {
		}
	}()
	go func() {
		for range u.routes {
		}
	}()
	go func() {
		for range u.neighbors {
		}
	}()
}

var errOverrun = errors.New("the kernel had more to tell than we could hear")

// listen handles messages until stop closes; then there is no error.
func (f *follower) listen(u *updates, stop <-chan struct{}) error {
	var settled <-chan time.Time
	ticker := time.NewTicker(probe)
	defer ticker.Stop()
	for {
		ok := true
		select {
		case <-stop:
			return nil
		case <-ticker.C:
			f.ask()
		case <-settled:
			settled = nil
			if err := f.readAll(); err != nil {
				return err
			}
		case l, more := <-u.links:
			if ok = more; ok && l.Attrs().Name == f.own && l.Attrs().Flags&net.FlagUp == 0 {
				f.comeback.Down()
			}
			settled = soon(settled)
		case _, ok = <-u.routes:
			settled = soon(settled)
		case n, more := <-u.neighbors:
			if ok = more; ok {
				f.hearUpdate(&n)
			}
		}
		if !ok {
			return errOverrun
		}
	}
}

func soon(already <-chan time.Time) <-chan time.Time {
	if already != nil {
		return already
	}
	return time.After(settle)
}

func (f *follower) hearUpdate(n *netlink.NeighUpdate) {
	f.mu.Lock()
	changed := f.hear(&n.Neigh, n.Type == unix.RTM_DELNEIGH)
	f.mu.Unlock()
	if changed {
		f.signal()
	}
}

func (f *follower) signal() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// readAll looks everything up again.
func (f *follower) readAll() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.readDevices(); err != nil {
		return err
	}
	for a := range f.picture.routes {
		f.picture.routes[a] = f.lookup(a)
	}
	f.hops = f.picture.hops()
	if err := f.readNeighbors(); err != nil {
		return err
	}
	f.signal()
	return nil
}

// ask asks for those neighbours in use that do not answer or that nobody has used.
func (f *follower) ask() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for h := range f.hops {
		if f.picture.neighbors[h].needs() {
			f.use(h)
		}
	}
}
