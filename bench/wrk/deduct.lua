-- Single deductions of one credit. Arguments: API key, run, number of accounts.
dofile((os.getenv("WRK_DIR") or ".") .. "/common.lua")

function init(args)
  common(args)
end

function request()
  return post("/v1/customers/" .. customer() .. "/deductions", '{"amount":1,"feature":"bench"}')
end
