-- lease: mirrors domain/allowance/share.rs
-- ARGV: 6 the user's name as JSON, 7 what the allowance is for, 8 the minute that credits are given back of, 9 how much it
-- is, 10 credits wanted, 11 credits given back, 12 of how many, the others of which are spent, 13 1 if what other nodes
-- hold counts as spent.
-- K:l and what it is for is a hash: e when the minute is over, f free credits, h and a node what it holds, w and a node 1
-- if it waits for what others give back.
local kind, most, wanted = ARGV[7], tonumber(ARGV[9]), tonumber(ARGV[10])
local L = K .. ':l' .. kind
local function say(to, words)
  call('PUBLISH', prefix .. ':node:{' .. to .. '}', '{"u":' .. ARGV[6] .. ',"y":' .. kind .. words .. '}')
end
local fund = {}
local v = call('HGETALL', L)
for at = 1, #v, 2 do fund[v[at]] = tonumber(v[at + 1]) end
if not fund.e or now >= fund.e then
  if wanted == 0 then return '{}' end
  call('DEL', L)
  fund = {e = now + 60000, f = most}
  call('HSET', L, 'e', fund.e)
  call('PEXPIRE', L, 60000)
end
if tonumber(ARGV[8]) == fund.e then
  local had = math.min(tonumber(ARGV[12]), fund['h' .. node] or 0)
  fund.f = fund.f + math.min(tonumber(ARGV[11]), had)
  if had > 0 then call('HINCRBY', L, 'h' .. node, -had) end
  for field in pairs(fund) do
    local waits = string.match(field, '^w(%d+)$')
    if waits then
      call('HDEL', L, field)
      say(waits, ',"a":1')
    end
  end
end
local grant = math.min(wanted, fund.f)
call('HSET', L, 'f', fund.f - grant)
local answer = string.format('{"n":%.0f,"l":%.0f', fund.e, fund.e - now)
if grant > 0 then
  call('HINCRBY', L, 'h' .. node, grant)
  return answer .. ',"k":' .. grant .. '}'
end
local is_held = false
for field, held in pairs(fund) do
  local holder = string.match(field, '^h(%d+)$')
  if wanted > 0 and holder and holder ~= node and held > 0 then
    if ARGV[13] == '1' then
      call('HDEL', L, field)
    else
      is_held = true
      say(holder, string.format(',"e":%.0f', fund.e))
    end
  end
end
if is_held then
  call('HSET', L, 'w' .. node, 1)
  return answer .. ',"m":1}'
end
return answer .. ',"k":0}'
