"""Redeeming refresh tokens with msal: the answers and the rejections."""

import unittest
import uuid

import requests
import sandbox
from msal.exceptions import MsalServiceError
from sandbox import PARTNER_CENTER

# More redemptions of one user and app than this in five minutes are a loop to Entra.
NO_LOOP = 15


class Redemption(unittest.TestCase):
    def setUp(self):
        # The redemptions of the earlier tests no longer count.
        sandbox.control("clock", advance="6m")
        self.app = sandbox.partner_app()

    def redeem(self, token, app=None, scopes=(PARTNER_CENTER,)):
        return (app or self.app).acquire_token_by_refresh_token(token, list(scopes))

    def assertRefused(self, answer, error, code, suberror=None):
        self.assertEqual(answer.get("error"), error)
        self.assertEqual(answer["error_codes"], [code])
        self.assertEqual(answer.get("suberror"), suberror)
        self.assertTrue(answer["error_description"].startswith(f"AADSTS{code}: "))
        self.assertEqual(answer["error_uri"], f"https://login.microsoftonline.com/error?code={code}")
        for member in ("trace_id", "correlation_id"):
            self.assertEqual(str(uuid.UUID(answer[member])), answer[member])
            self.assertIn(answer[member], answer["error_description"])
        self.assertRegex(answer["timestamp"], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$")

    def test_a_refresh_token_brings_an_access_token_and_a_successor(self):
        stored = sandbox.stored_token()

        answer = self.redeem(stored)

        self.assertEqual(answer["token_type"], "Bearer")
        self.assertEqual(answer["scope"], PARTNER_CENTER)
        self.assertGreaterEqual(answer["expires_in"], 60 * 60)
        self.assertLess(answer["expires_in"], 90 * 60)
        self.assertEqual(answer["ext_expires_in"], answer["expires_in"])
        self.assertNotIn(answer["refresh_token"], ("", stored))

    def test_perennial_prints_the_access_token_that_msal_gets(self):
        by_msal = sandbox.claims(self.redeem(sandbox.stored_token())["access_token"])

        printed = sandbox.perennial("access-token", sandbox.TOKEN["name"])

        token, = printed.splitlines()
        by_perennial = sandbox.claims(token)
        # The parts that differ between all tokens.
        for own in ("iat", "nbf", "exp", "uti"):
            self.assertIsNotNone(by_msal.pop(own, ""))
            by_perennial.pop(own, None)
        self.assertEqual(by_perennial, by_msal)
        self.assertIn("mfa", by_perennial["amr"])

    def test_the_answer_tells_whose_token_it_is(self):
        answer = self.redeem(sandbox.stored_token())

        user, = (user for user in sandbox.state()["users"] if user["upn"].startswith("integration@"))
        claims = answer["id_token_claims"]
        self.assertEqual(claims["aud"], sandbox.TOKEN["client_id"])
        self.assertEqual(claims["tid"], sandbox.TOKEN["tenant_id"])
        self.assertEqual(claims["oid"], user["oid"])
        self.assertEqual(claims["preferred_username"], user["upn"])
        account, = self.app.get_accounts()
        self.assertEqual(account["username"], user["upn"])
        self.assertEqual(account["home_account_id"], f"{user['oid']}.{user['tenant']}")

    def test_msal_goes_on_with_what_it_has(self):
        first = self.redeem(sandbox.stored_token())
        account, = self.app.get_accounts()

        cached = self.app.acquire_token_silent([PARTNER_CENTER], account)
        fresh = self.app.acquire_token_silent([PARTNER_CENTER], account, force_refresh=True)

        self.assertEqual(cached["access_token"], first["access_token"])
        self.assertEqual(cached["token_source"], "cache")
        self.assertEqual(fresh["token_source"], "identity_provider")
        self.assertNotEqual(fresh["access_token"], first["access_token"])

    def test_one_token_serves_other_resources_of_the_tenant(self):
        answer = self.redeem(sandbox.stored_token(), scopes=["https://graph.microsoft.com/User.Read"])

        self.assertEqual(answer["scope"], "https://graph.microsoft.com/User.Read")

    def test_a_spent_token_is_redeemed_again(self):
        stored = sandbox.stored_token()
        successor = self.redeem(stored)["refresh_token"]

        again = self.redeem(stored)["refresh_token"]

        self.assertEqual(len({stored, successor, again}), 3)
        for token in (successor, again):
            self.assertIn("access_token", self.redeem(token))

    def test_a_revoked_token_is_refused_until_the_next_sign_in(self):
        sandbox.control("revoke")

        refused = self.redeem(sandbox.stored_token())
        sandbox.control("sign-in")
        good = self.redeem(sandbox.stored_token())

        self.assertRefused(refused, "invalid_grant", 50173, "bad_token")
        self.assertIn("access_token", good)

    def test_a_wrong_app_secret(self):
        app = sandbox.partner_app(client_credential="wrong")

        refused = self.redeem(sandbox.stored_token(), app)

        self.assertRefused(refused, "invalid_client", 7000215)

    def test_another_app_than_it_was_issued_to(self):
        app = sandbox.partner_app(client_id="11111111-1111-1111-1111-111111111111")

        refused = self.redeem(sandbox.stored_token(), app)

        self.assertRefused(refused, "unauthorized_client", 700016)

    def test_what_is_no_token_at_all(self):
        self.assertRefused(self.redeem("no token"), "invalid_grant", 9002313)

    def test_a_token_that_was_never_issued(self):
        self.assertRefused(self.redeem("0.A" + "x" * 200), "invalid_grant", 70000)

    def test_a_resource_that_the_tenant_does_not_know(self):
        refused = self.redeem(sandbox.stored_token(), scopes=["https://nothing.example/read"])

        self.assertRefused(refused, "invalid_resource", 500011)

    def test_a_client_that_redeems_in_a_loop_is_stopped(self):
        stored = sandbox.stored_token()

        answers = [self.redeem(stored) for _ in range(NO_LOOP + 1)]

        self.assertEqual([answer.get("error") for answer in answers[:NO_LOOP]], [None] * NO_LOOP)
        self.assertRefused(answers[NO_LOOP], "invalid_grant", 50196)

    def test_what_policies_and_states_bring(self):
        stored = sandbox.stored_token()
        refusals = (
            ("interaction_required", 50076, "basic_action"),
            ("invalid_grant", 53003, "message_only"),
            ("invalid_grant", 50057, None),
            ("invalid_grant", 700082, "token_expired"),
            ("invalid_grant", 65001, "consent_required"),
            ("invalid_client", 7000222, None),
        )
        for error, code, suberror in refusals:
            fault = {"operation": "redeem", "error": error, "code": code}
            if suberror:
                fault["inner"] = suberror
            with self.subTest(code), sandbox.fault("entra", **fault):
                # A new app, since msal answers from its cache for a while after a rejection.
                self.assertRefused(self.redeem(stored, sandbox.partner_app()), error, code, suberror)

    def test_the_correlation_id_is_the_callers_own(self):
        sent = []
        with requests.Session() as session:
            session.hooks["response"] = lambda answer, **_: sent.append(answer.request.headers.get("client-request-id"))
            app = sandbox.partner_app(http_client=session)

            answer = self.redeem("no token", app)

        self.assertEqual(answer["correlation_id"], sent[-1])

    def test_a_client_keeps_away_for_as_long_as_an_overloaded_issuer_asks_for(self):
        stored = sandbox.stored_token()

        with sandbox.fault("entra", operation="redeem", status=429, retry_after=60):
            before = redemptions()
            for _ in range(2):
                # The answer is plain text, which msal cannot parse.
                with self.assertLogs("msal.oauth2cli.oauth2", "ERROR"), self.assertRaises(ValueError):
                    self.redeem(stored)
            self.assertEqual(redemptions(), before + 1)

    def test_an_issuer_that_is_down_is_told_by_its_status(self):
        stored = sandbox.stored_token()

        with sandbox.fault("entra", operation="redeem", status=503):
            with self.assertRaisesRegex(MsalServiceError, "503"):
                self.redeem(stored)


def redemptions():
    """The number of redemptions that the issuer has seen."""
    return sandbox.state()["requests"]["entra"].get("redeem", 0)
