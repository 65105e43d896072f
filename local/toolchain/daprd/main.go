// Command daprd is the Dapr sidecar with only the components Quadrille uses.
//
// The official binary registers some 130 components; compiling their SDKs takes
// twice the time and more than twice the disk. This one follows
// github.com/dapr/dapr/cmd/daprd/app and differs from it in the list of
// components (components.go), in pubsub.redis (redis.go), in the defaults of three
// flags (defaultFlags), of the garbage collector and of its own address, in where it looks
// for sentry (sentryFlag), and in that it begins again when its API ends it. The official build is the reference for behaviour.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"syscall"

	"go.opencensus.io/stats/view"
	"go.uber.org/automaxprocs/maxprocs"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/buildinfo"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/dapr/utils"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
)

var (
	log        = logger.NewLogger("dapr.runtime")
	logContrib = logger.NewLogger("dapr.contrib")
)

// defaultFlags stand before the command line, which therefore wins. Upstream
// listens on every address with the internal gRPC and the metrics port, and
// gives a batch in flight 5 s at shutdown; `dapr run -f` has no key for any of
// the three.
var defaultFlags = []string{
	"--dapr-internal-grpc-listen-address=127.0.0.1",
	"--metrics-listen-address=127.0.0.1",
	"--dapr-graceful-shutdown-seconds=30",
}

// sentryFlag stands behind the command line: `dapr run -f` passes localhost:50001 and
// has no key for another address.
func sentryFlag() []string {
	if addr := os.Getenv("QUADRILLE_SENTRY_ADDRESS"); addr != "" {
		return []string{"--sentry-address=" + addr}
	}
	return nil
}

func main() {
	_, _ = maxprocs.Set()
	if os.Getenv("GOGC") == "" {
		// Half as many collections for 20 MB more.
		debug.SetGCPercent(200)
	}
	if os.Getenv(utils.HostIPEnvVar) == "" {
		// Otherwise a sidecar does not start on a machine without any network. Others
		// reach it on loopback anyway.
		_ = os.Setenv(utils.HostIPEnvVar, "127.0.0.1") // fails for no such name
	}

	opts, err := options.New(slices.Concat(defaultFlags, os.Args[1:], sentryFlag()))
	if err != nil {
		log.Fatalf("Failed to parse flags: %v", err)
	}
	if answered(opts) {
		return
	}

	opts.Logger.SetAppID(opts.AppID)
	if err := logger.ApplyOptionsToLoggers(&opts.Logger); err != nil {
		log.Fatal(err)
	}
	log.Infof("Starting Dapr Runtime -- version %s -- commit %s", buildinfo.Version(), buildinfo.Commit())

	serve(opts)
	log.Info("Daprd shutdown gracefully")
}

// answered handles the flags that ask a question instead of running a sidecar.
func answered(opts *options.Options) bool {
	switch {
	case opts.RuntimeVersion:
		fmt.Println(buildinfo.Version())
	case opts.BuildInfo:
		fmt.Printf("Version: %s\nGit Commit: %s\nGit Version: %s\n",
			buildinfo.Version(), buildinfo.Commit(), buildinfo.GitVersion())
	case opts.WaitCommand:
		runtime.WaitUntilDaprOutboundReady(opts.DaprHTTPPort)
	default:
		return false
	}
	return true
}

// serve runs the sidecar until it is told to stop, and again after each SIGHUP.
func serve(opts *options.Options) {
	ctx := signals.Context()
	reloads := signals.OnHUP(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case runCtx, ok := <-reloads:
			if !ok {
				return
			}
			if err := run(runCtx, opts); err != nil {
				log.Fatalf("Fatal error from runtime: %s", err)
			}
			if runCtx.Err() == nil { // ended by the shutdown API, not by a signal
				beginAgain()
				return
			}
		}
	}
}

// beginAgain starts the program again, as this process. A service has its sidecar end by the
// API where that is stuck; on Kubernetes the kubelet starts it again.
func beginAgain() {
	program, err := os.Executable()
	if err == nil {
		log.Info("Daprd was told to end by its API, and begins again")
		err = syscall.Exec(program, os.Args, os.Environ()) //nolint:gosec // itself
	}
	log.Errorf("Daprd does not begin again: %v", err)
}

func run(ctx context.Context, opts *options.Options) error {
	health := healthz.New()
	provider, err := security.New(ctx, security.Options{
		SentryAddress:           opts.SentryAddress,
		ControlPlaneTrustDomain: opts.ControlPlaneTrustDomain,
		ControlPlaneNamespace:   opts.ControlPlaneNamespace,
		TrustAnchors:            opts.TrustAnchors,
		AppID:                   opts.AppID,
		MTLSEnabled:             opts.EnableMTLS,
		Mode:                    modes.DaprMode(opts.Mode),
		Healthz:                 health,
		JwtAudiences:            opts.SentryRequestJwtAudiences,
	})
	if err != nil {
		return fmt.Errorf("prepare security: %w", err)
	}

	runSidecar := func(ctx context.Context) error {
		handler, err := provider.Handler(ctx)
		if err != nil {
			return err
		}
		config := runtimeConfig(opts, health)
		config.Security = handler
		sidecar, err := runtime.FromConfig(ctx, config)
		if err != nil {
			return err
		}
		return sidecar.Run(ctx)
	}
	return concurrency.NewRunnerManager(provider.Run, runSidecar).Run(ctx)
}

func runtimeConfig(opts *options.Options, health healthz.Healthz) *runtime.Config {
	return &runtime.Config{
		AppID:                         opts.AppID,
		ActorsService:                 opts.ActorsService,
		ActorsDisseminationTimeout:    opts.ActorsDisseminationTimeout,
		HotReloadReconcileInterval:    opts.HotReloadReconcileInterval,
		RemindersService:              opts.RemindersService,
		SchedulerAddress:              opts.SchedulerAddress,
		SchedulerStreams:              opts.SchedulerJobStreams,
		AllowedOrigins:                opts.AllowedOrigins,
		ResourcesPath:                 opts.ResourcesPath,
		ControlPlaneAddress:           opts.ControlPlaneAddress,
		AppProtocol:                   opts.AppProtocol,
		Mode:                          opts.Mode,
		DaprHTTPPort:                  opts.DaprHTTPPort,
		DaprInternalGRPCPort:          opts.DaprInternalGRPCPort,
		DaprInternalGRPCListenAddress: opts.DaprInternalGRPCListenAddress,
		DaprAPIGRPCPort:               opts.DaprAPIGRPCPort,
		DaprAPIListenAddresses:        opts.DaprAPIListenAddresses,
		DaprPublicPort:                opts.DaprPublicPort,
		DaprPublicListenAddress:       opts.DaprPublicListenAddress,
		ApplicationPort:               opts.AppPort,
		ProfilePort:                   opts.ProfilePort,
		EnableProfiling:               opts.EnableProfiling,
		AppMaxConcurrency:             opts.AppMaxConcurrency,
		EnableMTLS:                    opts.EnableMTLS,
		SentryAddress:                 opts.SentryAddress,
		MaxRequestSize:                opts.MaxRequestSize,
		ReadBufferSize:                opts.ReadBufferSize,
		UnixDomainSocket:              opts.UnixDomainSocket,
		DaprGracefulShutdownSeconds:   opts.DaprGracefulShutdownSeconds,
		DaprBlockShutdownDuration:     opts.DaprBlockShutdownDuration,
		DisableBuiltinK8sSecretStore:  opts.DisableBuiltinK8sSecretStore,
		EnableAppHealthCheck:          opts.EnableAppHealthCheck,
		AppHealthCheckPath:            opts.AppHealthCheckPath,
		AppHealthProbeInterval:        opts.AppHealthProbeInterval,
		AppHealthProbeTimeout:         opts.AppHealthProbeTimeout,
		AppHealthThreshold:            opts.AppHealthThreshold,
		AppChannelAddress:             opts.AppChannelAddress,
		EnableAPILogging:              opts.EnableAPILogging,
		Config:                        opts.Config,
		DisableInitEndpoints:          opts.DisableInitEndpoints,
		Metrics: metrics.Options{
			Enabled:       opts.Metrics.Enabled(),
			Log:           log,
			Port:          opts.Metrics.Port(),
			Namespace:     metrics.DefaultMetricNamespace,
			Healthz:       health,
			ListenAddress: opts.Metrics.ListenAddress(),
			Meter:         view.NewMeter(),
		},
		AppSSL:         opts.AppSSL,
		ComponentsPath: opts.ComponentsPath,
		Registry:       components(),
		Healthz:        health,
	}
}
