package components

// What services ask of their sidecars, and do with what these bring, whatever the broker.
const (
	// quad generate: subscription (from platform/subscriber and platform/inbox; do not edit)
	batchSize        = 200
	batchWait        = "5ms"
	deadLetterSuffix = ".deadletter"
	remembered       = "360h"
	stopAfter        = 5
	// quad generate: end
)
