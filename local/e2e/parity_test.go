package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A place is where a test runs beside Redis.
type place int

const (
	always  place = iota // in every run on Kafka
	soaked               // on Kafka in a soak: make soak, or QUADRILLE_SOAK=1
	brokers              // on three brokers only
	never
)

// A rule is a test, with its place on Kafka and, unless that is always, why.
type rule struct {
	on  place
	why string
}

const (
	debezium = "it is about Debezium as the relay, which has a run of its own on Kafka: see relayed"
	noBroker = "the broker has no part in it"
	slow     = "the broker is asked for no more than by rules that run always, and it takes long"
)

// rules are all tests of this package, which run on Redis. The same tests, services and
// sidecars run on Kafka, with the other folder of components.
var rules = map[string]rule{
	"TestRule1_ARedeliveryStormChangesNothing":                    {},
	"TestRule3_NothingIsLostWhenAProcessIsKilled":                 {},
	"TestRule3_NothingIsLostWhileAServiceIsAwayFor10Seconds":      {},
	"TestRule3_NothingIsLostWhenTheBrokerIsKilled":                {},
	"TestRule3_NothingIsLostWhenTheDatabaseIsShutDownAtOnce":      {soaked, slow},
	"TestRule3_RubbishIsParkedAndBlocksNobody":                    {},
	"TestRule3_AnEventThatContradictsIsParkedByWhomItConcerns":    {},
	"TestRule3_AParkedEventIsReplayedWithItsIdAndTraceOnceMended": {},
	"TestRule3_DeadLettersAreParkedUnderTheirOwnTopic":            {},
	"TestRule4_EveryKindOfOrderEndsTheSameInAllServices":          {},
	"TestRule4_ShortageIsCancelledWithAReasonACustomerCanRead":    {},
	"TestRule4_WhatNoWarehouseEverHadIsShortToo":                  {},
	"TestRule4_CustomerCancelsWhileThePaymentIsUnderWay":          {},
	"TestRule4_AConfirmedOrderIsNotCancelled":                     {},
	"TestRule4_CancellingRacingConfirmingHasOneOutcome":           {soaked, slow},
	"TestRule4_AnExpiredReservationCancelsTheOrder":               {soaked, slow},
	"TestRule5_TheLastUnitsAreNeverOversold":                      {},
	"TestRule5_NobodyIsChargedTwiceWhenTheProviderIsKilled":       {soaked, slow},
	"TestRule6_OneOrderDrawsOnSeveralWarehouses":                  {},
	"TestRule7_OrdersWaitForAProviderThatIsDown":                  {soaked, slow},
	"TestRule7_CancelledWhileTheProviderIsAwayNobodyIsCharged":    {soaked, slow},
	"TestRule8_OneTraceAnOrder":                                   {},
	"TestRule8_AReplayIsPartOfTheTrace":                           {},
	"TestWhatLeavesTheWarehouseIsAnnouncedOnce":                   {},
	"TestStockLevelsArePublished":                                 {},
	"TestReplicas_TwoOfAServiceShareTheWork":                      {},
	"TestStop_SIGTERMUnderLoadExits0AndLosesNothing":              {soaked, slow},
	"TestB2B_KilledAtEveryStepEachOrderEndsAsDecided":             {soaked, slow},
	"TestB2B_KilledAmongManyOrders":                               {soaked, slow},
	"TestB2B_ASidecarToldToEndBeginsAgain":                        {soaked, noBroker},
	"TestB2B_RivalDecisionsHaveOneOutcome":                        {soaked, noBroker},
	"TestB2B_RacingForTheLastCreditAndTheLastStock":               {soaked, noBroker},
	"TestB2B_OrdersWaitForAnERPThatIsDown":                        {soaked, noBroker},
	"TestB2B_SagasUnderRandomKills":                               {soaked, slow},
	"TestIdempotencyKey_HundredAtOncePlaceOneOrder":               {soaked, noBroker},
	"TestHTTP_BadRequestsGetAProblemWithCodeAndField":             {soaked, noBroker},
	"TestHTTP_AcceptedCheckoutIsFoundWhereLocationSays":           {soaked, noBroker},
	"TestHTTP_OrdersOfACustomerArePaged":                          {soaked, noBroker},
	"TestHTTP_OperatorsWorkFromAContext":                          {soaked, noBroker},
	"TestHTTP_OperatorsVerifyFromAContext":                        {soaked, noBroker},
	"TestHTTP_OperatorsAreToldWhatAContextLacks":                  {soaked, noBroker},
	"TestAdmin_EveryServiceShowsHowItIsDoing":                     {soaked, noBroker},
	"TestAdmin_FlightRecorderGivesAnExecutionTrace":               {soaked, noBroker},
	"TestHealth_EveryServiceShowsHowItIsDoing":                    {soaked, noBroker},
	"TestParked_WantsTheToken":                                    {soaked, noBroker},
	"TestAccess_OnlyB2BCallsInventory":                            {},
	"TestAccess_NobodyListsStock":                                 {},
	"TestAccess_NobodyForgesEventsThroughSidecars":                {},
	"TestAccess_NobodyCommandsWorkflowsThroughSidecars":           {},
	"TestAccess_InternalPortsWantACertificate":                    {},
	"TestAccess_WorkGoesOnWhileSentryIsAway":                      {},
	"TestAccess_NothingListensBeyondThisMachine":                  {},
	"TestAccess_NobodyIsGivenTheBrokersPassword":                  {},
	"TestAccess_StrangersGetNothing":                              {},
	"TestOnKafka_AnOrderKeepsToItsPartition":                      {},
	"TestOutside_EveryEventIsAsTheDocumentPromises":               {},
	"TestOutside_ASidecarPublishesItsOwnTopicAndNoOther":          {},
	"TestOutside_AnEventOfAnotherSourceIsParked":                  {},
	"TestOutside_UsersOfTheBrokerDoWhatTheirScopesSay":            {brokers, "one broker knows no users"},
	"TestBrokers_OneIsKilledUnderLoad":                            {brokers, "it needs three"},
	"TestBrokers_ReplicasComeAndGoUnderLoad":                      {brokers, "TestReplicas does the same on one"},
	"TestBrokers_PoisonInAHotPartitionHoldsUpNobody":              {brokers, "rule 3 has poison on one"},
	"TestDebezium_NothingIsLostWhenConnectIsKilled":               {never, debezium},
	"TestDebezium_NothingIsLostWhenTheDatabaseIsKilled":           {never, debezium},
	"TestDebezium_NothingIsLostWhileConnectIsAway":                {never, debezium},
	"TestDebezium_NothingIsLostWhileTheBrokerIsAway":              {never, debezium},
	"TestDebezium_NothingIsLostWithSlotsMadeAgain":                {never, debezium},
	"TestDebezium_NothingIsLostWithTheSlots":                      {never, debezium},
	"TestDebezium_NothingIsLostWhenSlotsAreInvalidated":           {never, debezium},
	"TestDebezium_PublishesInPlaceOfTheServices":                  {never, debezium},
	"TestDebezium_PublishesTheSameBytes":                          {never, debezium},
	"TestDebezium_TheReleaseBeforeIsReplacedByTodays":             {never, debezium},
	"TestReleases_TheReleaseBeforeRunsWithTodays":                 {never, "what differs between releases is in the events, not in who carries them; services of the release before are started with its components of Redis"},
	"TestMove_EachServiceOutAndInWhileOrdersFlow":                 {never, "in one process there is no broker, and who moves out uses Redis"},
	"TestMove_WhatIsOutsideStaysOutsideOverARestart":              {never, "in one process there is no broker, and who moves out uses Redis"},
	"TestMove_OnlyOperatorsMoveServices":                          {never, "in one process there is no broker, and who moves out uses Redis"},
	"TestEveryRuleHasItsPlaceOnKafka":                             {never, "it runs nothing"},
}

// relayed are what is run with Debezium as the relay: a few minutes' worth in every run. It
// publishes the same bytes, so that most rules are not run again.
var relayed = map[string]place{
	"TestDebezium_PublishesInPlaceOfTheServices":         always,
	"TestDebezium_PublishesTheSameBytes":                 always,
	"TestDebezium_NothingIsLostWhileTheBrokerIsAway":     always,
	"TestDebezium_NothingIsLostWhenSlotsAreInvalidated":  always,
	"TestDebezium_NothingIsLostWhenConnectIsKilled":      soaked,
	"TestDebezium_NothingIsLostWhenTheDatabaseIsKilled":  soaked,
	"TestDebezium_NothingIsLostWhileConnectIsAway":       soaked,
	"TestDebezium_NothingIsLostWithSlotsMadeAgain":       soaked,
	"TestDebezium_NothingIsLostWithTheSlots":             soaked,
	"TestDebezium_TheReleaseBeforeIsReplacedByTodays":    soaked,
	"TestRule4_EveryKindOfOrderEndsTheSameInAllServices": soaked,
	"TestRule4_CustomerCancelsWhileThePaymentIsUnderWay": soaked,
	"TestB2B_RivalDecisionsHaveOneOutcome":               soaked,
}

// threeBrokerTests are what is run on three brokers unless -run says otherwise.
const threeBrokerTests = "^(TestBrokers_|TestOutside_)"

// kafkaTests are what is run on Kafka unless -run says otherwise.
func kafkaTests() string { return due(rules, func(r rule) place { return r.on }) }

// debeziumTests are what is run with Debezium as the relay unless -run says otherwise.
func debeziumTests() string { return due(relayed, func(on place) place { return on }) }

// due is a pattern of those tests that are run always, and in a soak the soaked ones.
func due[T any](tests map[string]T, on func(T) place) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		if on := on(tests[name]); on == always || on == soaked && soak() {
			names = append(names, name)
		}
	}
	return "^(" + strings.Join(names, "|") + ")$"
}

// fewer returns the cases of a test that are run on Kafka: few, unless in a soak.
func fewer(all []string, few ...string) []string {
	if !onKafka || soak() {
		return all
	}
	return few
}

// A test that nobody places would be missing on Kafka without anybody noticing.
func TestEveryRuleHasItsPlaceOnKafka(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests []string
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range file.Decls {
			f, ok := declared.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
				tests = append(tests, f.Name.Name)
			}
		}
	}
	for _, name := range tests {
		if _, placed := rules[name]; !placed {
			t.Errorf("%s has no place on Kafka: add it to rules", name)
		}
	}
	for name := range relayed {
		if _, placed := rules[name]; !placed {
			t.Errorf("relayed has %s, which is no rule", name)
		}
	}
	for name, r := range rules {
		if !slices.Contains(tests, name) {
			t.Errorf("rules has %s, which is no test", name)
		}
		if r.on != always && r.why == "" {
			t.Errorf("%s is not always run on Kafka: say why", name)
		}
		if _, with := relayed[name]; strings.HasPrefix(name, "TestDebezium_") && !with {
			t.Errorf("%s is not run with Debezium: add it to relayed", name)
		}
		if third := r.on == brokers; third && !strings.HasPrefix(name, "TestBrokers_") && !strings.HasPrefix(name, "TestOutside_") {
			t.Error(fmt.Errorf("%s is not run on three brokers: %s", name, threeBrokerTests))
		}
	}
}
