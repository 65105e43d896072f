// Package gateway is the one public door: it verifies who calls, limits, and passes requests on.
package gateway

import (
	"time"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/httpcall"
	"quadrille.internal/platform/service"
)

// Service says what the gateway is.
func Service() service.Spec {
	return service.Spec{
		Name:  "gateway",
		Port:  18280,
		Calls: []string{httpcall.Method},
		Build: func(kit *service.Kit) service.App {
			set := readSettings(kit.Config)
			g := newGateway(kit, set)
			g.expose(kit.Metrics)
			return service.App{
				Front:          &service.Front{Handler: g.handler(), Conns: set.conns, ConnsOfEach: set.connsOfEach, Trusted: set.proxies.contain, EndStreams: g.end},
				OperatorRoutes: g.operatorRoutes,
				Work: []service.Work{
					{Name: "routes", Run: g.routes.watch},
					{Name: "shared limits", Run: g.closeShared},
				},
			}
		},
	}
}

type settings struct {
	conns, connsOfEach     int
	proxies                prefixes
	origins                []string
	byAddress, bySubject   rate
	replicas               int
	redis                  string
	redisPassword          config.Secret
	routesFile             string
	maxBody, streams       int
	streamsOfAddress       int
	streamsOfCaller        int
	timeout, breakFor      time.Duration
	breakAfter, underWayOf int
}

// rate is how often a key may ask: so many times a second, and as many at once as burst.
type rate struct{ perSecond, burst int }

func readSettings(r *config.Reader) settings {
	own := r.Own()
	return settings{
		conns: r.About("connections that the public port holds").Int("QUADRILLE_CONNECTIONS", 10_000, 16, 200_000),
		connsOfEach: r.About("connections of one address; those of `QUADRILLE_TRUSTED_PROXIES` are not counted").
			Int("QUADRILLE_CONNECTIONS_OF_ADDRESS", 1_000, 1, 200_000),
		proxies: readPrefixes(r.About("address ranges of load balancers in front, with commas between: only their `X-Forwarded-For` is believed"),
			"QUADRILLE_TRUSTED_PROXIES"),
		origins: readOrigins(r.About("origins of web pages that may call, such as `https://shop.example`, with commas between"),
			"QUADRILLE_ALLOWED_ORIGINS"),
		byAddress: rate{
			r.About("requests a second of one address, before it is known who calls").Int("QUADRILLE_ADDRESS_RATE", 100, 1, 1_000_000),
			r.About("requests of one address at once, beyond its rate").Int("QUADRILLE_ADDRESS_BURST", 400, 1, 1_000_000),
		},
		bySubject: rate{
			r.About("requests a second of one caller").Int("QUADRILLE_CALLER_RATE", 50, 1, 1_000_000),
			r.About("requests of one caller at once, beyond its rate").Int("QUADRILLE_CALLER_BURST", 200, 1, 1_000_000),
		},
		replicas: r.About("most gateways that may run: where they do not share a count, each allows its part of the rates").
			Int("QUADRILLE_REPLICAS", 1, 1, 1_000),
		redis: r.About("host:port of the Redis in which gateways share their counts; without it each counts for itself").
			String("QUADRILLE_LIMITS_REDIS", ""),
		redisPassword: own.About("its password").OptionalSecret("QUADRILLE_LIMITS_REDIS_PASSWORD"),
		routesFile: r.About("JSON file in which routes that operators changed are kept, for all gateways that read it; without it they last until the end").
			String("QUADRILLE_ROUTES_FILE", ""),
		maxBody: r.About("bytes of a request's body").Int("QUADRILLE_MAX_BODY", 512<<10, 1<<10, 64<<20),
		streams: r.About("event streams at once").Int("QUADRILLE_STREAMS", 8_000, 1, 200_000),
		streamsOfAddress: r.About("event streams of one address at once; each may watch 100 SKUs, and a replica of cart 10,000").
			Int("QUADRILLE_STREAMS_OF_ADDRESS", 30, 1, 200_000),
		streamsOfCaller: r.About("event streams of one caller at once").Int("QUADRILLE_STREAMS_OF_CALLER", 10, 1, 200_000),
		timeout:         r.About("how long a service may take until its answer begins").Duration("QUADRILLE_SERVICE_TIMEOUT", 10*time.Second),
		underWayOf: r.About("requests under way at one service, event streams aside").
			Int("QUADRILLE_UNDER_WAY", 256, 1, 100_000),
		breakAfter: r.About("requests in a row that a service does not answer, after which it is left alone").
			Int("QUADRILLE_BREAK_AFTER", 5, 1, 1_000),
		breakFor: r.About("for how long it is left alone").Duration("QUADRILLE_BREAK_FOR", 5*time.Second),
	}
}
