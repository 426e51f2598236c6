package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// NetlinkOptions are the knobs of the real kernel. The zero value is right for
// production.
type NetlinkOptions struct {
	// Namespace is the network namespace to work in; zero or closed = the current one.
	Namespace netns.NsHandle
	// EventBuffer bounds what the kernel keeps of events that were not read yet, in
	// bytes; 0 = 256 MiB, which is some 800,000 events. Nothing is reserved. A burst
	// beyond it costs a re-read, which is slow for large tables (br_fdb_dump walks
	// the table from its start for every 32 KiB). Without CAP_NET_ADMIN the system's
	// limit applies.
	EventBuffer int
	// BatchBytes bounds one send of row changes; 0 = 128 KiB.
	BatchBytes int
}

// Netlink is the real kernel, in one network namespace.
type Netlink struct {
	opts  NetlinkOptions
	links *socket // links and addresses
	dumps *socket // rows
	rows  *socket // writes of rows
	ways  *socket // questions about routes
}

const (
	defaultEventBuffer = 256 << 20
	defaultBatchBytes  = 128 << 10
	requestBuffer      = 4 << 20 // answers to a batch wait here, one per failed row

	// batchMessages bounds one send, too. Each VXLAN row takes per-CPU memory
	// (vxlan_fdb_append, dst_cache_init) without sleeping, and the worker that
	// refills that memory runs between sends: 100,000 rows took 0.43 s in sends of
	// 200 and 1.6 s in sends of 2,000 (Linux 6.18).
	batchMessages = 200
)

// NewNetlink opens the sockets. Close releases them.
func NewNetlink(opts NetlinkOptions) (*Netlink, error) {
	if opts.EventBuffer == 0 {
		opts.EventBuffer = defaultEventBuffer
	}
	if opts.BatchBytes == 0 {
		opts.BatchBytes = defaultBatchBytes
	}
	n := &Netlink{opts: opts}
	for _, s := range []**socket{&n.links, &n.dumps, &n.rows, &n.ways} {
		var err error
		if *s, err = newSocket(opts.Namespace, requestBuffer); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// Close closes the sockets; subscriptions are closed by their own Close.
func (n *Netlink) Close() error {
	var errs []error
	for _, s := range []*socket{n.links, n.dumps, n.rows, n.ways} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// OpenWire opens packet sockets.
func (n *Netlink) OpenWire() (snoop.Wire, error) {
	return snoop.NewTaps(func(f func() error) error { return inNamespace(n.opts.Namespace, f) })
}

// Links lists all interfaces.
func (n *Netlink) Links() (links []Link, err error) {
	err = n.links.dump(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), unix.RTM_NEWLINK,
		func() { links = links[:0] },
		func(b []byte) {
			if l, ok := decodeLink(b); ok {
				links = append(links, l)
			}
		})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	all := n.sourceCheck()
	for i := range links {
		links[i].SourceCheck = max(links[i].SourceCheck, all)
	}
	return links, nil
}

// sourceCheck reads rp_filter of all links; 0 where there is no IPv4 or no /proc.
func (n *Netlink) sourceCheck() (value uint8) {
	_ = inNamespace(n.opts.Namespace, func() error {
		text, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/rp_filter")
		if v, bad := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 8); err == nil && bad == nil {
			value = uint8(v)
		}
		return nil
	})
	return value
}

// Addresses lists the IP addresses of all interfaces.
func (n *Netlink) Addresses() (addrs []Address, err error) {
	err = n.links.dump(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), unix.RTM_NEWADDR,
		func() { addrs = addrs[:0] },
		func(b []byte) {
			if a, ok := decodeAddress(b); ok {
				addrs = append(addrs, a)
			}
		})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return addrs, nil
}

// AddLink creates a link; EEXIST when the name is taken.
func (n *Netlink) AddLink(s LinkSpec) error {
	return n.links.request(func(b []byte, seq uint32) []byte { return appendAddLink(b, s, seq) })
}

// SetLink changes a link.
func (n *Netlink) SetLink(index int32, s LinkSettings) error {
	return n.links.request(func(b []byte, seq uint32) []byte { return appendSetLink(b, index, s, seq) })
}

// DeleteLink removes a link.
func (n *Netlink) DeleteLink(index int32) error {
	return n.links.request(func(b []byte, seq uint32) []byte { return appendDeleteLink(b, index, seq) })
}

// Dump lists the rows of one family.
func (n *Netlink) Dump(family uint8, yield func(Neighbor)) error {
	body := make([]byte, sizeofNdMsg)
	body[0] = family
	if family == unix.AF_BRIDGE {
		// Without strict checking the kernel reads the FDB request as struct
		// ifinfomsg (rtnl_fdb_dump, net/core/rtnetlink.c).
		body = make([]byte, unix.SizeofIfInfomsg)
		body[0] = family
	}
	err := n.dumps.dump(unix.RTM_GETNEIGH, body, unix.RTM_NEWNEIGH,
		func() {},
		func(b []byte) {
			if r, ok := decodeNeighbor(b); ok && r.Family == family {
				yield(r)
			}
		})
	if err != nil {
		return fmt.Errorf("dump rows of family %d: %w", family, err)
	}
	return nil
}

// Find asks for rows one by one in one send (Linux 5.0: rtnl_fdb_get, neigh_get).
func (n *Netlink) Find(rows []Neighbor, yield func(Neighbor)) error {
	s := n.links
	s.mu.Lock()
	defer s.mu.Unlock()
	base := s.seq + 1
	b := s.out[:0]
	for _, r := range rows {
		s.seq++
		b = appendGetNeighbor(b, r, s.seq)
	}
	s.out = b
	if len(rows) == 0 {
		return nil
	}
	if err := s.send(b); err != nil {
		return fmt.Errorf("ask for %d rows: %w", len(rows), err)
	}
	var failed error
	for left := len(rows); left > 0; {
		b, err := s.receive()
		if err != nil {
			return fmt.Errorf("read %d rows: %w", len(rows), err)
		}
		for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
			if m.seq-base >= uint32(len(rows)) {
				continue // of a question that was given up
			}
			switch m.typ {
			case unix.RTM_NEWNEIGH:
				left--
				if r, ok := decodeNeighbor(m.body); ok {
					yield(r)
				}
			case unix.NLMSG_ERROR:
				left--
				if err := m.errno(); !errors.Is(err, unix.ENOENT) && failed == nil {
					failed = fmt.Errorf("ask for row %s %s: %w", rows[m.seq-base].MAC, rows[m.seq-base].Addr, err)
				}
			}
		}
	}
	return failed
}

// Write sends ops in as few sends as the batch size allows. Errors come back per
// message, matched by sequence number; only the last message of a send asks for
// an acknowledgement, which says that all before it are done.
func (n *Netlink) Write(ops []NeighborOp, failed func(i int, err error)) error {
	s := n.rows
	s.mu.Lock()
	defer s.mu.Unlock()
	for start := 0; start < len(ops); {
		base := s.seq + 1
		b := s.out[:0]
		end := start
		const largest = 128 // no message is longer
		for end < len(ops) && (end == start || len(b)+largest <= n.opts.BatchBytes) {
			last := end == len(ops)-1 || end-start == batchMessages-1 || len(b)+2*largest > n.opts.BatchBytes
			s.seq++
			b = appendNeighborOp(b, ops[end], s.seq, last)
			end++
			if last {
				break
			}
		}
		s.out = b
		if err := s.send(b); err != nil {
			return fmt.Errorf("send %d row changes: %w", end-start, err)
		}
		if err := s.readResults(base, s.seq, func(i int, err error) { failed(start+i, err) }); err != nil {
			return fmt.Errorf("read results of %d row changes: %w", end-start, err)
		}
		start = end
	}
	return nil
}

// readResults reads until the answer to message last.
func (s *socket) readResults(base, last uint32, failed func(i int, err error)) error {
	for {
		b, err := s.receive()
		if err != nil {
			// ENOBUFS: answers were lost, and perhaps the last one; what is left in
			// the buffer belongs to an old sequence number and is skipped later.
			return err
		}
		for m, rest, ok := nextMessage(b); ok; m, rest, ok = nextMessage(rest) {
			if m.typ != unix.NLMSG_ERROR || m.seq-base > last-base {
				continue
			}
			if no := m.errno(); no != 0 {
				failed(int(m.seq-base), no)
			}
			if m.seq == last {
				return nil
			}
		}
	}
}
