-- The same login over and over, for wrk.
wrk.method = "POST"
wrk.path = "/login"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"email":"user0@example.com","password":"a wrong password"}'
