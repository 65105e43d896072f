package e2e

// oneProcessTests are what is run with all services in one process unless -run says
// otherwise: every rule but those about sidecars, the broker and replicas. Repeated events
// are for the tests of package transporttest, which need no broker to repeat them.
const oneProcessTests = "^(TestRule3_NothingIsLostWhenAProcessIsKilled|TestRule3_NothingIsLostWhenTheDatabase.*" +
	"|TestRule4.*|TestRule5.*|TestRule6.*|TestRule7.*|TestStop.*|TestIdempotencyKey.*|TestHTTP.*|TestHealth.*|TestAdmin.*|TestMove.*|TestParked.*|TestB2B.*)$"
