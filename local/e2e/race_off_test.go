//go:build !race

package e2e

// raceEnabled says whether the services are built with the race detector.
const raceEnabled = false
