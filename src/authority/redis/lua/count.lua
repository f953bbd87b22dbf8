-- count: mirrors domain/room.rs
-- ARGV: 5 "u" for how many members there are, "w" for how many users. Told once, whoever looks first.
local why = open()
if why then return refuse(why) end
if call('HDEL', K, ARGV[5]) == 1 and call('HLEN', M) > 0 then
  if ARGV[5] == 'u' then
    tell('*', '{"stats":' .. call('HLEN', M) .. '}')
  elseif room.k > 0 then
    local known, total = {}, 0
    for _, text in ipairs(call('HVALS', M)) do
      local user = cjson.decode(text).w[1]
      if not known[user] then known[user], total = true, total + 1 end
    end
    tell('*', '{"online":' .. total .. '}')
  end
end
return done('"r":1', true)
