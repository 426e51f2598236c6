package kernel

// groupInterface names the interface of the VNI's group.
func (p *plan) groupInterface() string {
	if p.cfg.GroupInterface != "" {
		return p.cfg.GroupInterface
	}
	return p.site.where
}

// groupLink is the link of the VNI's group; nil when there is no group, or no link that
// could carry it.
func (p *plan) groupLink() *Link {
	if !p.cfg.Group.IsValid() {
		return nil
	}
	l := p.s.byName[p.groupInterface()]
	if l == nil || l.Loop || !l.Multicast {
		return nil
	}
	return l
}
