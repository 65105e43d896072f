package main

import "strings"

// temper is how the ERP treats a company, whatever its mode. It shows faults
// to people who cannot or would not switch a mode.
type temper struct {
	prefix     string // of the company's id
	slow       bool   // takes its time to create an order
	rejects    bool   // refuses every order, for good
	failsAfter bool   // creates the order and answers with an error
	losesReply bool   // creates the order and cuts the connection
	neverUndo  bool   // fails to cancel, every time
}

var tempers = []temper{
	{prefix: "erp-slow-", slow: true},
	{prefix: "erp-reject-", rejects: true},
	{prefix: "erp-fail-after-", failsAfter: true},
	{prefix: "erp-lose-reply-", losesReply: true},
	{prefix: "erp-cancel-fails-", neverUndo: true},
}

func temperOf(companyID string) temper {
	for _, t := range tempers {
		if strings.HasPrefix(companyID, t.prefix) {
			return t
		}
	}
	return temper{}
}
