-- Balances read from the read model. Arguments: API key, run, number of accounts.
dofile((os.getenv("WRK_DIR") or ".") .. "/common.lua")

function init(args)
  common(args)
end

function request()
  local headers = { ["Authorization"] = "Bearer " .. token }
  return wrk.format("GET", "/v1/customers/" .. customer() .. "/balance", headers)
end
