package config

// Settings of the process, whatever services are in it: none of them has a prefix.
const (
	TracePercent = "QUADRILLE_TRACE_PERCENT"
	Flight       = "QUADRILLE_FLIGHT"
	Drain        = "QUADRILLE_DRAIN"
	Installed    = "QUADRILLE_INSTALLED"
)

// OfProcess are all of them.
var OfProcess = []string{TracePercent, Flight, Drain, Installed}
