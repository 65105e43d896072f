package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"quadrille.internal/local/stack"
	"quadrille.internal/quad/command"
)

// examine checks the machine and the stack, for quad doctor.
func (g *globals) examine(ctx context.Context) ([]command.Finding, error) {
	s, err := g.open(nil)
	if err != nil {
		return nil, err
	}
	findings := []command.Finding{checkGo(ctx), checkDisk(s), checkServers(s), checkToolchain(s), checkServices(s)}
	findings = append(findings, checkParts(s.Status(ctx))...)
	if s.ByDebezium() && s.Process("postgres") != nil {
		findings = append(findings, checkSlots(s.Slots(ctx))...)
	}
	return findings, nil
}

// slotLag is how much log a slot may have to confirm before somebody should look.
const slotLag = 64 << 20

// checkSlots says how far the replication slots are that publish the outboxes.
func checkSlots(slots map[string]stack.Slot, err error) []command.Finding {
	if err != nil {
		return []command.Finding{fault("slots", err.Error(), "see postgres above")}
	}
	findings := make([]command.Finding, 0, len(slots))
	for _, app := range slices.Sorted(maps.Keys(slots)) {
		findings = append(findings, checkSlot(app, slots[app]))
	}
	return findings
}

func checkSlot(app string, slot stack.Slot) command.Finding {
	check := "slot of " + app
	behind := fmt.Sprintf("%d kB of log behind, lost if %d MB more follow", slot.Behind>>10, slot.Left>>20)
	switch {
	case slot.Status == "":
		return fault(check, "there is none; the service publishes by itself", "`quad up` has Connect make it")
	case slot.Status == "lost":
		return fault(check, "its log was removed, as nobody read it; the service publishes by itself", "`quad up` drops it and has Connect make it again")
	case !slot.Read:
		return fault(check, "nobody reads it, events wait: "+behind, "`quad up` starts Connect. If it can't, drop the slot (select pg_drop_replication_slot('"+slot.Name+"')): the service then publishes by itself")
	case slot.Behind > slotLag:
		return fault(check, behind, "see log/connect.log: is Kafka there, is an event too large for it? If it does not catch up, stop Connect and drop the slot: the service then publishes by itself")
	}
	return well(check, "read, "+behind)
}

func well(check, detail string) command.Finding {
	return command.Finding{Check: check, OK: true, Detail: detail}
}

func fault(check, detail, remedy string) command.Finding {
	return command.Finding{Check: check, Detail: detail, Remedy: remedy}
}

func checkGo(ctx context.Context) command.Finding {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	version := strings.TrimSpace(string(out))
	var minor int
	_, _ = fmt.Sscanf(version, "go1.%d", &minor) // 0 when it does not match
	const needed = 26
	if err != nil || minor < needed {
		return fault("go", "found "+version, fmt.Sprintf("install Go 1.%d or newer: https://go.dev/dl", needed))
	}
	return well("go", version)
}

func checkDisk(s *stack.Stack) command.Finding {
	const gib = 1 << 30
	needed := int64(1)
	if !s.ToolchainBuilt() {
		needed = 6 // module and build caches of the first build
	}
	free, err := s.FreeDisk()
	if err != nil {
		return fault("disk", err.Error(), "check the folder given with --dir")
	}
	found := fmt.Sprintf("%d GiB free", free/gib)
	if free < needed*gib {
		return fault("disk", found, fmt.Sprintf("free at least %d GiB", needed))
	}
	return well("disk", found)
}

func checkServers(s *stack.Stack) command.Finding {
	postgres, broker, err := s.ServersFound()
	if missing, ok := errors.AsType[*stack.EnvironmentError](err); ok {
		return fault("servers", missing.Problem, missing.Remedy)
	}
	return well("servers", fmt.Sprintf("PostgreSQL %s, %s", postgres, broker))
}

func checkToolchain(s *stack.Stack) command.Finding {
	if !s.ToolchainBuilt() {
		return fault("dapr", "not built for the present sources", "run `quad build` (some minutes)")
	}
	return well("dapr", stack.DaprVersion)
}

func checkServices(s *stack.Stack) command.Finding {
	if missing := s.Unbuilt(); len(missing) > 0 {
		return fault("services", "not built: "+strings.Join(missing, ", "), "run `quad build`")
	}
	return well("services", "built")
}

// checkParts takes a stack that is wholly down for well: then only the ports
// matter.
func checkParts(parts []stack.PartStatus) []command.Finding {
	up := 0
	for _, p := range parts {
		if p.PID != 0 {
			up++
		}
	}
	var findings []command.Finding
	for _, p := range parts {
		environment, isEnvironment := errors.AsType[*stack.EnvironmentError](p.Fault)
		switch {
		case isEnvironment:
			findings = append(findings, fault(p.Part, environment.Problem, environment.Remedy))
		case p.Fault != nil:
			findings = append(findings, fault(p.Part, p.Fault.Error(), "see its log; `quad down` and `quad up` start it again"))
		case p.PID != 0:
			findings = append(findings, well(p.Part, fmt.Sprintf("ready at %s, pid %d", p.Address, p.PID)))
		case p.External:
			findings = append(findings, well(p.Part, "answers at "+p.Address))
		case up > 0:
			findings = append(findings, fault(p.Part, "not running", "`quad up` starts it"))
		default:
			findings = append(findings, well(p.Part, p.Address+" is free"))
		}
	}
	return findings
}
