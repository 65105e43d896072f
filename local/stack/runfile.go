package stack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// A runFile is the part of `dapr run -f`'s schema that local/dapr.yaml uses. An
// unknown key is an error: it would be honoured by the CLI but not by a single
// service that is started again without it.
type runFile struct {
	Version int       `yaml:"version"`
	Name    string    `yaml:"name"`
	Common  runCommon `yaml:"common"`
	Apps    []App     `yaml:"apps"`
}

type runCommon struct {
	RuntimePath          string   `yaml:"runtimePath"`
	ResourcesPaths       []string `yaml:"resourcesPaths"`
	ConfigFilePath       string   `yaml:"configFilePath"`
	PlacementHostAddress string   `yaml:"placementHostAddress"`
	SchedulerHostAddress string   `yaml:"schedulerHostAddress"`
	APIListenAddresses   string   `yaml:"apiListenAddresses"`
	MaxBodySize          string   `yaml:"maxBodySize"`
	AppProtocol          string   `yaml:"appProtocol"`
	AppLogDestination    string   `yaml:"appLogDestination"`
	DaprdLogDestination  string   `yaml:"daprdLogDestination"`
	LogLevel             string   `yaml:"logLevel"`
}

// An App is one service of local/dapr.yaml, its ports shifted and its paths
// absolute.
type App struct {
	ID           string            `yaml:"appID"`
	Dir          string            `yaml:"appDirPath"` // working folder of the service and its sidecar
	GRPCPort     int               `yaml:"appPort"`    // where the sidecar calls the service
	DaprHTTP     int               `yaml:"daprHTTPPort"`
	DaprGRPC     int               `yaml:"daprGRPCPort"`
	DaprInternal int               `yaml:"daprInternalGRPCPort"`
	DaprMetrics  int               `yaml:"metricsPort"`
	Command      []string          `yaml:"command"`
	Env          map[string]string `yaml:"env"`

	// Alone is the command of a service that leaves the one process.
	Alone []string `yaml:"-"`
	// Part is how the process of a further replica is called, "" of the first.
	Part string `yaml:"-"`
	// Public is where others reach a service that has replicas.
	Public string `yaml:"-"`
}

// ports matches what the shift of a second stack applies to.
var ports = regexp.MustCompile(`\b18\d{3}\b`)

// readRunFile reads a run file for a stack whose processes work in dir.
func readRunFile(path, dir string, shift int) (*runFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text = ports.ReplaceAllFunc(text, func(port []byte) []byte {
		n, _ := strconv.Atoi(string(port)) // five digits: the expression says so
		return strconv.AppendInt(nil, int64(n+shift), 10)
	})

	var run runFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&run); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	run.resolve(filepath.Dir(path), dir)
	return &run, nil
}

// resolve makes every path absolute: those of common against the file's folder,
// as the CLI does, and a command against the folder the file gives its app. Then
// the apps move to dir, which is another folder for a second stack.
func (r *runFile) resolve(base, dir string) {
	absolute := func(base string, path *string) {
		if !filepath.IsAbs(*path) {
			*path = filepath.Join(base, *path)
		}
	}
	absolute(base, &r.Common.RuntimePath)
	absolute(base, &r.Common.ConfigFilePath)
	for i := range r.Common.ResourcesPaths {
		absolute(base, &r.Common.ResourcesPaths[i])
	}
	for i := range r.Apps {
		app := &r.Apps[i]
		absolute(base, &app.Dir)
		absolute(app.Dir, &app.Command[0])
		app.Dir = dir
	}
}

func (r *runFile) write(path string) error {
	text, err := yaml.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// sidecarArgs are the flags `dapr run -f` gives the app's daprd, so that one
// started alone is the same.
func (r *runFile) sidecarArgs(app *App) []string {
	args := []string{
		filepath.Join(r.Common.RuntimePath, "bin", "daprd"),
		"--app-id", app.ID,
		"--app-port", strconv.Itoa(app.GRPCPort),
		"--app-protocol", r.Common.AppProtocol,
		"--dapr-listen-addresses", r.Common.APIListenAddresses,
		"--max-body-size", r.Common.MaxBodySize,
		"--dapr-http-port", strconv.Itoa(app.DaprHTTP),
		"--dapr-grpc-port", strconv.Itoa(app.DaprGRPC),
		"--dapr-internal-grpc-port", strconv.Itoa(app.DaprInternal),
		"--metrics-port", strconv.Itoa(app.DaprMetrics),
		"--config", r.Common.ConfigFilePath,
		"--placement-host-address", r.Common.PlacementHostAddress,
		"--scheduler-host-address", r.Common.SchedulerHostAddress,
		"--log-level", r.Common.LogLevel,
		// The CLI adds these for a configuration with mtls, always with this address;
		// QUADRILLE_SENTRY_ADDRESS says where it really is.
		"--enable-mtls", "--sentry-address", "localhost:50001",
	}
	for _, path := range r.Common.ResourcesPaths {
		args = append(args, "--resources-path", path)
	}
	return args
}

// serviceEnv is what `dapr run -f` adds to the service's environment.
func (a *App) serviceEnv() []string {
	env := []string{
		"APP_ID=" + a.ID,
		"APP_PORT=" + strconv.Itoa(a.GRPCPort),
		"DAPR_HTTP_PORT=" + strconv.Itoa(a.DaprHTTP),
		"DAPR_GRPC_PORT=" + strconv.Itoa(a.DaprGRPC),
		"DAPR_METRICS_PORT=" + strconv.Itoa(a.DaprMetrics),
	}
	for key, value := range a.Env {
		env = append(env, key+"="+value)
	}
	slices.Sort(env)
	return env
}
