-- Deductions by clients that come back a second after they were refused, as they are asked to.
-- Arguments: API key, run, number of accounts.
dofile((os.getenv("WRK_DIR") or ".") .. "/common.lua")

local refused = 0

function init(args)
  common(args)
end

function request()
  return post("/v1/customers/" .. customer() .. "/deductions", '{"amount":1}')
end

function response(status, headers, body)
  if status == 503 then
    refused = refused + 1
  end
end

function delay()
  if refused == 0 then
    return 0
  end
  refused = refused - 1
  return 1000
end
