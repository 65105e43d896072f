package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
	"quadrille.internal/workflows/b2b/wire"
)

func newCompany(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "company",
		Short: "See and set companies, their credit and their policy",
		Args:  NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCompanyShow(g), writes(newCompanySet(g)))
	return cmd
}

func newCompanyShow(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a company",
		Example: "  quad b2b company show acme",
		Args:    Exactly("ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			c, err := inst.Client.Company(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("show company %s: %w", args[0], err)
			}
			return printCompany(g, &c)
		}),
	}
}

// termFlags are a company's terms as the command line has them.
type termFlags struct {
	wire.Terms
	rules, approvers []string
	policyFile       string
}

func newCompanySet(g *Globals) *cobra.Command {
	var t termFlags
	cmd := &cobra.Command{
		Use:   "set ID --limit AMOUNT ...",
		Short: "Set a company's terms, all of them",
		Long: `set replaces a company's terms: what is not given falls back to its default. Amounts
are minor units. A rule AMOUNT=N wants N approvals for orders from that amount; an
approver ID=LIMIT@LEVEL may decide on orders up to the limit, and is asked when
nobody of a lower level has answered. --policy reads the whole policy as JSON instead,
as in docs/openapi.yaml, with delegations too; - reads standard input.`,
		Example: `  quad b2b company set acme --limit 1000000 --warehouse leeds --warehouse bristol \
    --rule 10000=1 --rule 500000=2 --approver alice=500000@1 --approver bob=5000000@2`,
		Args: Exactly("ID"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			if t.Name == "" {
				t.Name = args[0]
			}
			if err := t.parse(cmd.InOrStdin()); err != nil {
				return UsageError{err}
			}
			c, err := inst.Client.SetCompany(cmd.Context(), args[0], t.Terms)
			if err != nil {
				return fmt.Errorf("set company %s: %w", args[0], err)
			}
			return printCompany(g, &c)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&t.Name, "name", "", "its name (default: its id)")
	f.StringVar(&t.Currency, "currency", "GBP", "ISO 4217 code of its prices")
	f.Int64Var(&t.CreditLimit, "limit", 0, "credit limit")
	f.StringArrayVar(&t.Warehouses, "warehouse", nil, "where to ship from; repeat it, nearest first")
	f.StringArrayVar(&t.rules, "rule", nil, "AMOUNT=N; repeat it")
	f.StringArrayVar(&t.approvers, "approver", nil, "ID=LIMIT@LEVEL; repeat it")
	f.DurationVar((*time.Duration)(&t.Policy.RemindAfter), "remind", 0, "after how long to ask again (default 24h)")
	f.DurationVar((*time.Duration)(&t.Policy.EscalateAfter), "escalate", 0, "after how long to ask the next level (default 48h)")
	f.DurationVar((*time.Duration)(&t.Policy.ExpireAfter), "expire", 0, "after how long to give up (default 72h)")
	f.StringVar(&t.policyFile, "policy", "", "file with the whole policy")
	return cmd
}

func (t *termFlags) parse(stdin io.Reader) error {
	if t.policyFile != "" {
		return t.readPolicy(stdin)
	}
	for _, text := range t.rules {
		from, need, err := parsePair(text, "=")
		if err != nil {
			return fmt.Errorf("--rule %s is not AMOUNT=N such as 10000=1", text)
		}
		t.Policy.Rules = append(t.Policy.Rules, wire.Rule{From: from, Need: int(need)})
	}
	for _, text := range t.approvers {
		id, rest, _ := strings.Cut(text, "=")
		limit, level, err := parsePair(rest, "@")
		if err != nil || id == "" {
			return fmt.Errorf("--approver %s is not ID=LIMIT@LEVEL such as alice=500000@1", text)
		}
		t.Policy.Approvers = append(t.Policy.Approvers, wire.Approver{ID: id, Limit: limit, Level: int(level)})
	}
	return nil
}

func (t *termFlags) readPolicy(stdin io.Reader) error {
	if len(t.rules)+len(t.approvers) > 0 {
		return errors.New("--policy holds rules and approvers already")
	}
	in := stdin
	if t.policyFile != "-" {
		file, err := os.Open(t.policyFile)
		if err != nil {
			return fmt.Errorf("--policy: %w", err)
		}
		defer file.Close()
		in = file
	}
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(&t.Policy); err != nil {
		return fmt.Errorf("--policy %s: %w", t.policyFile, err)
	}
	return nil
}

func parsePair(text, separator string) (a, b int64, err error) {
	left, right, _ := strings.Cut(text, separator)
	if a, err = strconv.ParseInt(left, 10, 64); err != nil {
		return a, b, err
	}
	b, err = strconv.ParseInt(right, 10, 32)
	return a, b, err
}

func printCompany(g *Globals, c *wire.Company) error {
	if g.JSON {
		return output.JSON(os.Stdout, c)
	}
	money := func(amount int64) string { return audit.Money(events.Money{Amount: amount, Currency: c.Currency}) }
	fmt.Printf("company    %s, %s\n", c.ID, c.Name)
	fmt.Printf("credit     %s: %s held, %s used, %s left\n",
		money(c.CreditLimit), money(c.Held), money(c.Exposure), money(c.CreditLimit-c.Held-c.Exposure))
	fmt.Printf("warehouses %s\n", strings.Join(c.Warehouses, ", "))
	for _, r := range c.Policy.Rules {
		fmt.Printf("from       %s: %d approvals\n", money(r.From), r.Need)
	}
	for _, a := range c.Policy.Approvers {
		fmt.Printf("level %-4d %s, up to %s\n", a.Level, a.ID, money(a.Limit))
	}
	for _, d := range c.Policy.Delegations {
		fmt.Printf("delegated  %s to %s, until %s\n", d.From, d.To, d.Until.Local().Format("2006-01-02 15:04"))
	}
	fmt.Printf("reminds after %s, escalates after %s, expires after %s\n",
		c.Policy.RemindAfter, c.Policy.EscalateAfter, c.Policy.ExpireAfter)
	return nil
}
