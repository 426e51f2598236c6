package daemon

// Names of log fields, the same in every package that logs through us.
const (
	fieldPart      = "part"
	fieldVNI       = "vni"
	fieldMAC       = "mac"
	fieldIP        = "ip"
	fieldVTEP      = "vtep"
	fieldNeighbor  = "neighbor"
	fieldReason    = "reason"
	fieldDetail    = "detail"
	fieldError     = "err"
	fieldSkipped   = "suppressed"
	fieldSocket    = "socket"
	fieldAddress   = "address"
	fieldVersion   = "version"
	fieldSignal    = "signal"
	fieldChanged   = "changed"
	fieldProblem   = "problem"
	fieldFile      = "file"
	fieldInterface = "interface"
)
